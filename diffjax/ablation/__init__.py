"""Ablations: published tables as data, run at a budget, kept in a ledger, with a verdict on each of their claims.

This package exports what an experiment file needs. `ablate.py` runs one, `report.py` shows the results.
"""

from diffjax.ablation.along import decreases, greatest, increases, least
from diffjax.ablation.claims import All, AnyOf, Claim, Fails, Less, Near, Statement, Within
from diffjax.ablation.experiment import Budget
from diffjax.ablation.grid import Grid, Run, computed, setting, trained, vary
from diffjax.ablation.table import Axis, Marked, Printed, Quantity, Table

__all__ = [
    "All", "AnyOf", "Axis", "Budget", "Claim", "Fails", "Grid", "Less", "Marked", "Near", "Printed", "Quantity",
    "Run", "Statement", "Table", "Within", "computed", "decreases", "greatest", "increases", "least", "setting",
    "trained", "vary",
]  # fmt: skip
