from joblib import Parallel, delayed
from pages import NUMBERS, fetch, parse

if __name__ == "__main__":
    threads = Parallel(4, backend="threading", return_as="generator")
    processes = Parallel(2, backend="loky", return_as="generator")
    pages = threads(delayed(fetch)(number) for number in NUMBERS)
    print(sum(processes(delayed(parse)(page) for page in pages)))
