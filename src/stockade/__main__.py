"""`python -m stockade`: the same as the command `stockade`."""

from stockade.cli.stockade.main import main

if __name__ == "__main__":
    main()
