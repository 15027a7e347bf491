"""Ablations: published tables as data, run at a budget, kept in a ledger, with a verdict on each of their claims.

This package exports what an experiment file needs.

An experiment:
    table        the published table;   grid: what to run;   experiment: the file that has both, and the budgets
    claims       what is said of the table, and its verdict;   along: statements about an axis
    intervals    of means and differences over seeds;   exact: tests where there is no interval

Running one:
    ablate       the command;   plan: the tasks of a budget;   work: one task, trained and measured
    local, slurm the backends;   progress: the state of all tasks, and the time left
    code         a hash of what a number depends on, by canonical and syntax: the meaning of a file
    cost         what training took;   raised: exceptions that ended a run

What came out:
    cells        what was measured at the places of a table;   collect: reads them from run directories
    ledger       all of them as JSON, with their provenance;   thumbnails: the pictures beside it
    report       the command;   layout: the contents of its tables;   markdown, page, figure: how they are rendered
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
