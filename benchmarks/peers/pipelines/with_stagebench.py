from pages import NUMBERS, fetch, parse

from stagebench import Pipeline

if __name__ == "__main__":
    pages = Pipeline().threads(fetch, workers=4)
    with pages.processes(parse, workers=2, start_method="spawn") as pipe:
        print(sum(pipe.map(NUMBERS)))
