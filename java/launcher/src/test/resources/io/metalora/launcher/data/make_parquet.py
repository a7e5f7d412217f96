"""Writes the Parquet files that ParquetReaderTest reads.

    python make_parquet.py        (pyarrow 25.0)
"""
import pathlib

import pyarrow
import pyarrow.parquet

FOLDER = pathlib.Path(__file__).parent
TABLE = pyarrow.table({"prompt": ["a", "é 中"], "completion": [" b", " c"], "n": [1, None], "x": [0.5, 1.5]})
MESSAGES = [[{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]]

for compression in ("snappy", "none", "gzip"):
    pyarrow.parquet.write_table(TABLE, FOLDER / f"{compression}.parquet", compression=compression)
pyarrow.parquet.write_table(pyarrow.table({"messages": MESSAGES}), FOLDER / "chat.parquet")
