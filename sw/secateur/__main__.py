"""The command line as a module: ``torchrun --nproc-per-node 2 -m secateur train ...``."""

from secateur.cli import main

if __name__ == "__main__":
    main()
