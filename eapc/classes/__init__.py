"""Fewer target classes: which are kept, how a head is cut to them, what a file tells."""

from eapc.classes.choice import ChosenClasses, choose, known_classes, parse_classes
from eapc.classes.class_map import CLASSES_KEY, NAMES_KEY, ClassMap, class_map, names_told
from eapc.classes.cutting import keep_classes
from eapc.classes.evidence import require_scores
from eapc.classes.heads import ClassifierHead, find_head

__all__ = [
    "CLASSES_KEY",
    "NAMES_KEY",
    "ChosenClasses",
    "ClassMap",
    "ClassifierHead",
    "choose",
    "class_map",
    "find_head",
    "keep_classes",
    "known_classes",
    "names_told",
    "parse_classes",
    "require_scores",
]
