"""Prompts: class names, templates, descriptions and a task description become one text vector per class."""

from __future__ import annotations

from fewshot.prompts.entailment import class_scores as class_scores
from fewshot.prompts.prompts import Prompts as Prompts
from fewshot.prompts.task import TaskWeights as TaskWeights
from fewshot.prompts.task import weigh_templates as weigh_templates
from fewshot.prompts.templates import list_templates as list_templates
from fewshot.prompts.templates import load_templates as load_templates

__all__ = ["Prompts", "TaskWeights", "class_scores", "list_templates", "load_templates", "weigh_templates"]
