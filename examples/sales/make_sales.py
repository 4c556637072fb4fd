"""Make the sales of 40 days, one file of compressed JSON lines each, in the folder `data`."""

import gzip
import json
import random
from pathlib import Path

folder = Path(__file__).parent / "data"
folder.mkdir(exist_ok=True)
for day in range(40):
    shops = [number for number in range(50) for _ in range(400)]
    items = random.Random(day).choices(range(1, 9), k=len(shops))
    sales = [{"shop": s, "items": i, "price": 5 * i} for s, i in zip(shops, items, strict=True)]
    lines = "\n".join(map(json.dumps, sales))
    (folder / f"{day:03}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
