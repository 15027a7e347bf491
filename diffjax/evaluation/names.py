"""Names of the image metrics and of their scores."""

SHORT = {  # the usual short name of a metric by certain features, and of its score
    "fid": "frechet:inception",
    "fid_clean": "frechet:inception_clean",
    "fid_torch": "frechet:inception_torch",
    "fid_infinity": "frechet_infinity:inception",
    "fd_dinov2": "frechet:dinov2",
    "frechet_pixels": "frechet:pixels",
    "is": "inception_score:inception",
}
PRDC = {  # score -> (convention, quantity)
    "precision": ("kynkaanniemi", "precision"),
    "recall": ("kynkaanniemi", "recall"),
    "precision_naeem": ("naeem", "precision"),
    "recall_naeem": ("naeem", "recall"),
    "density": ("naeem", "density"),
    "coverage": ("naeem", "coverage"),
}


def score_names(metric: str, features: str) -> tuple[str, ...]:
    """The names of the scores that a metric by these features may return."""
    frechet = next(
        (short_name for short_name, full_name in SHORT.items() if full_name == f"frechet:{features}"),
        f"frechet_{features}",
    )
    inception_score = "inception_score" if features == "inception" else f"inception_score_{features}"
    return {
        "frechet": (frechet, f"{frechet}_ratio"),
        "frechet_infinity": (f"{frechet}_infinity", f"{frechet}_infinity_standard_error"),
        "kid": (f"kid_{features}", f"kid_{features}_standard_error"),
        "kid_all_pairs": (f"kid_all_pairs_{features}", f"kid_all_pairs_{features}_standard_error"),
        "prdc": tuple(f"{quantity}_{features}" for quantity in PRDC),
        "inception_score": (inception_score, f"{inception_score}_std"),
        "memorisation": tuple(f"{quantity}_{features}" for quantity in ("auth_pct", "copied_pct", "excess_copies")),
    }[metric]
