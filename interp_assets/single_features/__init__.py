"""Work on a few features in this process: `interp run`, `interp redo` and `interp show`, for the command line and for notebooks."""
