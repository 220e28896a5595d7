"""Alerts about failed runs, spent budgets and checks that do not pass, by webhook and by mail."""
