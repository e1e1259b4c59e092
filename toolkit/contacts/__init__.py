"""Clean and judge email addresses and phone numbers, one or many; hide them where they are shown."""

from toolkit.errors import ToolkitError

from .corrections import fix_table
from .masks import mask_text
from .tables import (
    ContactCoverage,
    domain_table,
    format_table,
    measure_coverage,
    phone_type_table,
    shared_table,
)

ToolkitError.mask = staticmethod(mask_text)

__all__ = [
    "ContactCoverage",
    "domain_table",
    "fix_table",
    "format_table",
    "measure_coverage",
    "phone_type_table",
    "shared_table",
]
