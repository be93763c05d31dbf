"""An analytical query with Apache Arrow on four threads: write and read Parquet, join, group, sort."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS = 60_000


def main() -> None:
    """Run the query and print its answer."""
    pa.set_cpu_count(4)
    rng = np.random.default_rng(11)
    sales = pa.table(
        {
            "shop": rng.integers(0, 300, ROWS),
            "item": pa.array([f"item {number % 997}" for number in range(ROWS)]),
            "price": rng.gamma(2.0, 15.0, ROWS),
        }
    )
    shops = pa.table({"shop": np.arange(300), "town": pa.array([f"town {number * 7 % 41}" for number in range(300)])})
    file = io.BytesIO()
    pq.write_table(sales, file, row_group_size=6_000, compression="zstd")
    file.seek(0)
    read = pq.read_table(file)
    for least in (5.0, 20.0, 40.0):
        chosen = read.filter(pc.field("price") > least)
        joined = chosen.join(shops, "shop")
        towns = joined.group_by(["town", "item"]).aggregate([("price", "sum"), ("price", "count")])
        print(towns.sort_by([("price_sum", "descending")]).slice(0, 3).to_pylist())
    print(pc.value_counts(pc.utf8_upper(read["item"]))[:2])


if __name__ == "__main__":
    main()
