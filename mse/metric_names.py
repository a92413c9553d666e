"""What metrics are called in tables that people read, and whether less of one is better."""

METRIC_NAMES = {  # by their names in metrics.csv
    "mae": ("MAE", True),
    "corr": ("r", False),
    "acc7": ("Acc-7 (%)", False),
    "acc5": ("Acc-5 (%)", False),
    "acc3": ("Acc-3 (%)", False),
    "acc2": ("Acc-2 (%)", False),
    "acc2_weak": ("Acc-2, weak (%)", False),
    "has0_acc2": ("Acc-2, 0 positive (%)", False),
    "has0_f1": ("F1, 0 positive (%)", False),
    "non0_acc2": ("Acc-2, without 0 (%)", False),
    "non0_f1": ("F1, without 0 (%)", False),
    "f1": ("F1 (%)", False),
    "r2": ("R\u00b2", False),
    "accuracy": ("accuracy (%)", False),
    "weighted_f1": ("weighted F1 (%)", False),
    "macro_f1": ("macro F1 (%)", False),
}
PERCENT = {name for name, (told, _) in METRIC_NAMES.items() if told.endswith("(%)")}
