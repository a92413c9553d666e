"""What metrics are called in tables that people read, and whether less of one is better."""

METRIC_NAMES = {  # by their names in metrics.csv
    "mae": ("MAE", True),
    "corr": ("r", False),
    "acc7": ("seven-class accuracy (%)", False),
    "acc5": ("five-class accuracy (%)", False),
    "acc3": ("three-class accuracy (%)", False),
    "acc2": ("two-class accuracy (%)", False),
    "acc2_weak": ("two-class accuracy, weak (%)", False),
    "has0_acc2": ("two-class accuracy, 0 is positive (%)", False),
    "has0_f1": ("its F1 (%)", False),
    "non0_acc2": ("two-class accuracy, without 0 (%)", False),
    "non0_f1": ("its F1 (%)", False),
    "f1": ("F1 (%)", False),
    "r2": ("R\u00b2", False),
    "accuracy": ("accuracy (%)", False),
    "weighted_f1": ("weighted F1 (%)", False),
    "macro_f1": ("macro F1 (%)", False),
}
PERCENT = {name for name, (told, _) in METRIC_NAMES.items() if told.endswith("(%)")}
