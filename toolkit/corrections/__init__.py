"""Answers to contacts_to_fix.csv: read what a person wrote into it, and put the right contacts in place.

The file holds no contact but what was typed into it, so a row is found again by how it is masked. Whatever is
not found, or not beyond doubt, is told and left alone.
"""

from .answers import CORRECTION_COLUMNS, read_corrections
from .placing import OUTCOME_COLUMNS, OUTCOMES, correct

__all__ = ["CORRECTION_COLUMNS", "OUTCOMES", "OUTCOME_COLUMNS", "correct", "read_corrections"]
