"""`python -m stagebench`: the command line."""

from stagebench.cli import main

if __name__ == "__main__":
    main()
