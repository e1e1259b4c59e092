"""Clean and judge email addresses and phone numbers, one or many; hide them where they are shown."""

from toolkit.errors import ToolkitError

from .bulk import CONTACT_COLUMNS, check_contacts
from .checks import (
    CONTACT_VERDICTS,
    OK,
    REGIONS,
    Verdict,
    check_email,
    check_phone,
    check_region,
    fold_email,
    phone_digits,
)
from .corrections import FIX_COLUMNS, fix_table
from .masks import (
    mask_all,
    mask_contact,
    mask_email,
    mask_emails,
    mask_phone,
    mask_phones,
    mask_table,
    mask_text,
    mask_texts,
    masked,
)
from .plans import digits_of
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
    "CONTACT_COLUMNS",
    "CONTACT_VERDICTS",
    "FIX_COLUMNS",
    "OK",
    "REGIONS",
    "ContactCoverage",
    "Verdict",
    "check_contacts",
    "check_email",
    "check_phone",
    "check_region",
    "digits_of",
    "domain_table",
    "fix_table",
    "fold_email",
    "format_table",
    "mask_all",
    "mask_contact",
    "mask_email",
    "mask_emails",
    "mask_phone",
    "mask_phones",
    "mask_table",
    "mask_text",
    "mask_texts",
    "masked",
    "measure_coverage",
    "phone_digits",
    "phone_type_table",
    "shared_table",
]
