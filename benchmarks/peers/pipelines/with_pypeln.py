import multiprocessing

import pypeln
from pages import NUMBERS, fetch, parse

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    pages = pypeln.thread.map(fetch, NUMBERS, workers=4, maxsize=32)
    print(sum(pypeln.process.map(parse, pages, workers=2, maxsize=32)))
