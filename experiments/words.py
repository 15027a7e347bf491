"""Words: text conditioning, guidance, and GAN against diffusion, on captions of scenes (ours).

Scenes of shapes are drawn from captions, and an exact checker reads them back. "exact" is the share of samples in which
everything is as the caption says: "seen" for captions like those of training, "held out" for captions with a pair of
colour and shape that training never showed. "variety" is how much two samples of one caption differ; it is 1 for
rendered scenes. A diffusion model is conditioned on its text encoder's pooled output ("pooled"), on the encoder's
outputs for each byte by cross-attention, or on both. In "both, windows" the encoder sees sixteen neighbours of each
byte and no other bytes. Frozen encoders (T5, CLIP) are in no budget; they were not measured. The GAN is conditioned on
the pooled output of an encoder of the same size; at `hour` its networks have 1.8 million parameters, diffusion's 0.34
million. Guidance 1 is the model as it is, 0 the model without a caption.
"""

from itertools import pairwise

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
    Claim("With guidance 2, the model with both kinds of conditioning draws at least 85 % of samples exactly",
          Within("exact, seen", at("both", "2"), low=0.85)),
    Claim("Cross-attention to bytes draws more samples exactly than pooled conditioning",
          Less("exact, seen", at("pooled"), at("cross-attention"))),
    Claim("A text encoder whose bytes see each other draws more samples exactly than one with windows",
          Less("exact, seen", at("both, windows"), at("both"))),
    Claim("Guidance 2 or 4 draws more samples exactly than no guidance",
          AnyOf(tuple(Less("exact, seen", at("both"), at("both", scale)) for scale in ("2", "4")))),
    Claim("Guidance costs variety: each scale has less than the one before",
          All(tuple(Less("variety", at("both", high), at("both", low)) for low, high in pairwise(SCALES)))),
    Claim("Without a caption, at most 5 % of samples are exact", Within("exact, seen", at("both", "0"), high=0.05)),
    Claim("The GAN draws fewer samples exactly than diffusion trained on as many images",
          Less("exact, seen", at("GAN"), at("both"))),
    Claim("With guidance 2, at least half of the samples with unseen combinations are exact",
          Within("exact, held out", at("both", "2"), low=0.5)),
)  # fmt: skip

GUIDED = vary(
    "guidance", {scale: {"sampler.guidance.name": "classifier_free", "sampler.guidance.scale": float(scale)}
                 for scale in SCALES}
)  # fmt: skip
AS_IT_IS = vary("guidance", {"1": {}})


def grid(variant, seeds, steps, **network):
    """Diffusion and the GAN are trained for `steps` of 64 images."""
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
        "16x16, one thing in a scene, trained on 128,000 images, 1,024 samples",
        grid("16_one", 3, 2_000, **SMALL) * MEASURED,
        MEASURES,
        hours=2,
    ),
    "quarter": Budget(
        "16x16, two things in a scene, trained on 384,000 images, networks as in configs/shapes.py, 1,024 samples",
        grid("16_two", 3, 6_000) * MEASURED,
        MEASURES,
        hours=0.5,
    ),
    "day": Budget(
        "32x32, one to three things in a scene, trained on 2,560,000 images, 1,024 samples",
        grid("32_three", 3, 40_000) * MEASURED,
        MEASURES,
        hours=6,
    ),
}
