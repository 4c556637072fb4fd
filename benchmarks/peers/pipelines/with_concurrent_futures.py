from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from pages import NUMBERS, fetch, parse

if __name__ == "__main__":
    spawn = get_context("spawn")
    with ThreadPoolExecutor(4) as threads, ProcessPoolExecutor(2, mp_context=spawn) as processes:
        print(sum(processes.map(parse, threads.map(fetch, NUMBERS))))
