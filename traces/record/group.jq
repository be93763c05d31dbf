# Makes objects, groups them, and sums each group.
[range(4000) | {a: ., b: [. * 7 % 13, "x\(. % 97)"]}]
| group_by(.b[0])
| map({key: .[0].b[0], count: length, sum: (map(.a) | add)})
