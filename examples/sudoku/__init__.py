"""The rules of Sudoku, learned from solved boards: `python -m examples.sudoku`."""
