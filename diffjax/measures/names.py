"""What metrics of images are called, and what their scores are."""

SHORT = {  # what everyone calls a metric by certain features, and its score
    "fid": "frechet:inception",
    "fid_clean": "frechet:inception_clean",
    "fid_torch": "frechet:inception_torch",
    "fid_infinity": "frechet_infinity:inception",
    "fd_dinov2": "frechet:dinov2",
    "frechet_pixels": "frechet:pixels",
    "is": "inception_score:inception",
}
PRDC = {  # the convention and the number that each score is
    "precision": ("kynkaanniemi", "precision"),
    "recall": ("kynkaanniemi", "recall"),
    "precision_naeem": ("naeem", "precision"),
    "recall_naeem": ("naeem", "recall"),
    "density": ("naeem", "density"),
    "coverage": ("naeem", "coverage"),
}


def score_names(metric: str, features: str) -> tuple[str, ...]:
    """What the scores are called that a metric by these features may give."""
    frechet = next((short for short, full in SHORT.items() if full == f"frechet:{features}"), f"frechet_{features}")
    inception_score = "inception_score" if features == "inception" else f"inception_score_{features}"
    return {
        "frechet": (frechet, f"{frechet}_ratio"),
        "frechet_infinity": (f"{frechet}_infinity", f"{frechet}_infinity_standard_error"),
        "kid": (f"kid_{features}", f"kid_{features}_standard_error"),
        "kid_all_pairs": (f"kid_all_pairs_{features}", f"kid_all_pairs_{features}_standard_error"),
        "prdc": tuple(f"{number}_{features}" for number in PRDC),
        "inception_score": (inception_score, f"{inception_score}_std"),
        "memorisation": tuple(f"{number}_{features}" for number in ("auth_pct", "copied_pct", "excess_copies")),
    }[metric]
