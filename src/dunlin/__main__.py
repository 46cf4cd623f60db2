"""`python -m dunlin`."""

from dunlin.cli.main import main

if __name__ == "__main__":
    main()
