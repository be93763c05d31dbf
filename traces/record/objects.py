"""What a small Python service does: parse documents, keep some, index their words, format answers."""

import json
import random
import re
from collections import Counter, OrderedDict, defaultdict

WORDS = (
    "address",
    "block",
    "bump",
    "cache",
    "chunk",
    "coalesce",
    "fit",
    "free",
    "heap",
    "hole",
    "page",
    "pool",
)
KEPT = 120


def document(rng: random.Random, number: int) -> str:
    """One request, as text."""
    lines = [{"word": rng.choice(WORDS), "size": rng.randrange(1 << 20)} for _ in range(rng.randrange(2, 24))]
    title = " ".join(rng.choices(WORDS, k=4))
    return json.dumps({"id": number, "title": title, "lines": lines, "note": "x" * rng.randrange(400)})


def main() -> None:
    """Serve the requests, oldest answers dropped first."""
    rng = random.Random(7)
    recent: OrderedDict[int, dict[str, object]] = OrderedDict()
    index: defaultdict[str, list[int]] = defaultdict(list)
    counted: Counter[str] = Counter()
    for number in range(450):
        parsed = json.loads(document(rng, number))
        recent[number] = parsed
        if len(recent) > KEPT:
            recent.popitem(last=False)
        for word in re.findall(r"[a-z]+", parsed["title"]):
            index[word].append(number)
            counted[f"{word}/{len(parsed['lines'])}"] += 1
        if number % 25 == 0:
            found = sorted({one for word in rng.sample(WORDS, 3) for one in index[word] if one in recent})
            print("; ".join(f"{one}: {recent[one]['title']}" for one in found)[:200])
    print(counted.most_common(5))


if __name__ == "__main__":
    main()
