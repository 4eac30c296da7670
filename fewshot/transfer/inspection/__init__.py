"""Seeing inside: what each stage of a network makes of data, before and after fine-tuning, and what training sees."""

from fewshot.transfer.inspection.contact_sheet import contact_sheet
from fewshot.transfer.inspection.inspecting import inspect
from fewshot.transfer.inspection.result import Inspection

__all__ = ["Inspection", "contact_sheet", "inspect"]
