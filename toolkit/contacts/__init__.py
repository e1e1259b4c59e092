"""Clean and judge email addresses and phone numbers, one or many; hide them where they are shown."""

from toolkit.errors import ToolkitError

from .fixes import FIX_COLUMNS, fix_table, suggest
from .kinds import number_table
from .mask_columns import mask_emails, mask_phones, mask_table, mask_texts, masked
from .masks import mask_all, mask_contact, mask_email, mask_phone, mask_text
from .quality import domain_table, shared_table
from .shapes import spelling_table
from .single import REGIONS, check_email, check_phone, check_region, fold_email, phone_digits
from .spelling import digits_of
from .table import CONTACT_COLUMNS, check_contacts
from .usable import Usable, count_usable
from .verdicts import CONTACT_VERDICTS, OK, Verdict

ToolkitError.mask = staticmethod(mask_text)

__all__ = [
    "CONTACT_COLUMNS",
    "CONTACT_VERDICTS",
    "FIX_COLUMNS",
    "OK",
    "REGIONS",
    "Usable",
    "Verdict",
    "check_contacts",
    "check_email",
    "check_phone",
    "check_region",
    "count_usable",
    "digits_of",
    "domain_table",
    "fix_table",
    "fold_email",
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
    "number_table",
    "phone_digits",
    "shared_table",
    "spelling_table",
    "suggest",
]
