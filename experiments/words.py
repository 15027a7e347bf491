"""Words: how a caption is best shown, how much guidance it wants, and whether a GAN listens as well (ours).

Scenes of shapes are drawn by captions and read back by an exact checker: "exact" is the share of samples in which
everything is as was asked, of captions such as training saw, and of those with a pair of a colour and a shape that it
never saw. "variety" is how much two samples of one caption differ, 1 for rendered scenes. A diffusion model is told
what its reader pools of a caption, or attends to its bytes, or both; "windows" is a reader in which a byte sees its
sixteen neighbours and no other; frozen encoders (T5, CLIP) are in no budget, for their weights are not here. The GAN
is told what is pooled, by a reader of the same size; at `hour` its networks have 1.8 million parameters, that of the
diffusion 0.34. Guidance 1 is the model as it is, 0 the one without a caption.
"""

from diffjax.ablation import (
    All,
    AnyOf,
    Axis,
    Budget,
    Claim,
    Less,
    Quantity,
    Table,
    Within,
    setting,
    trained,
    vary,
)

READERS = {
    "pooled": {"method__network__text__conditioning": "pooled"},
    "cross-attention": {"method__network__text__conditioning": "cross_attention"},
    "both": {},
    "both, windows": {"method__network__text__depth": 0},
}
SCALES = ("0", "1", "2", "4")
MODELS = (*READERS, "GAN")

PAPER = Table(
    source="ours; nobody published this table",
    rows=Axis("told by", MODELS),
    columns=Axis("guidance", SCALES),
    quantities=tuple(Quantity(name, better="more") for name in ("exact, seen", "exact, held out", "variety")),
)


def at(model, scale="1"):
    return {"told by": model, "guidance": scale}


CLAIMS = (
    Claim("With guidance of 2 the model that has both draws at least 85 % exactly",
          Within("exact, seen", at("both", "2"), low=0.85)),
    Claim("Attention to its bytes shows a caption better than what is pooled of it",
          Less("exact, seen", at("pooled"), at("cross-attention"))),
    Claim("A reader whose bytes see each other is better than one of windows",
          Less("exact, seen", at("both, windows"), at("both"))),
    Claim("Guidance of 2 or 4 draws more exactly than none",
          AnyOf(tuple(Less("exact, seen", at("both"), at("both", scale)) for scale in ("2", "4")))),
    Claim("It is paid in variety: each scale has less than the one before",
          All(tuple(Less("variety", at("both", more), at("both", less)) for less, more in zip(SCALES, SCALES[1:],
                                                                                             strict=False)))),
    Claim("Without a caption next to nothing is as asked", Within("exact, seen", at("both", "0"), high=0.05)),
    Claim("The GAN draws less exactly than diffusion with as many images of training",
          Less("exact, seen", at("GAN"), at("both"))),
    Claim("What was never seen together is drawn exactly in at least half of all cases, with guidance of 2",
          Within("exact, held out", at("both", "2"), low=0.5)),
)  # fmt: skip

GUIDED = vary(
    "guidance", {scale: {"sampler.guidance.name": "classifier_free", "sampler.guidance.scale": float(scale)}
                 for scale in SCALES}
)  # fmt: skip
AS_IT_IS = vary("guidance", {"1": {}})


def grid(variant, seeds, steps, **network):
    """So many `steps` of 64 images, for the GAN as well."""
    readers = {
        name: trained(f"configs/shapes.py:{variant}", seeds, train__steps=steps, **network, **reader) * GUIDED
        for name, reader in READERS.items()
    }
    gan = trained(f"configs/gan_shapes.py:{variant}", seeds, train__steps=steps) * AS_IT_IS
    return vary("told by", {**readers, "GAN": gan})


MEASURES = {"exact, seen": "alignment_exact", "exact, held out": "alignment_exact_heldout", "variety": "variety"}
MEASURED = setting(eval__metrics=("alignment", "variety"), eval__num=1_024)
SMALL = {"method__network__channels": 16}
BUDGETS = {
    "minute": Budget(
        "smoke test: 16x16, one thing in a scene, 10 steps of 32, 64 samples",
        grid("16_one", 1, 10, **SMALL).where(
            lambda at: at["told by"] in ("both", "GAN") and at["guidance"] in ("1", "2")
        )
        * setting(train__batch_size=32, eval__metrics=("alignment",), eval__num=64),
        {name: score for name, score in MEASURES.items() if name != "variety"},
        hours=0.1,
    ),
    "hour": Budget(
        "16x16, one thing in a scene, 128,000 images of training, 1,024 samples",
        grid("16_one", 3, 2_000, **SMALL) * MEASURED,
        MEASURES,
        hours=2,
    ),
    "quarter": Budget(
        "16x16, two things in a scene, 384,000 images of training, networks as in configs/shapes.py, 1,024 samples",
        grid("16_two", 3, 6_000) * MEASURED,
        MEASURES,
        hours=0.5,
    ),
    "day": Budget(
        "32x32, one to three things in a scene, 2,560,000 images of training, 1,024 samples",
        grid("32_three", 3, 40_000) * MEASURED,
        MEASURES,
        hours=6,
    ),
}
