"""``python -m manymodels``."""

from manymodels.cli import main

if __name__ == "__main__":
    main()
