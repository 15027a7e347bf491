"""Tiny T5 and CLIP text encoders with random weights and real tokenizers of some twenty words, in directories."""

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from diffjax.data.shapes.scene import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES

SAID = (*SIZES, *COLOURS, *SHAPES, *RELATIONS, *BACKGROUNDS)
WORDS = sorted({word for said in SAID for word in said.split()})
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WIDTH = 16
POSITIONS = 40


def t5(path, seed=0):
    """A T5 encoder with relative positions, and SentencePiece's unigrams: words, and letters where none fits."""
    torch.manual_seed(seed)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("\u2581", -4.0)]
    pieces += [(f"\u2581{word}", -2.0) for word in ["a", "on", *WORDS]] + [(letter, -5.0) for letter in LETTERS]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0)
    model = T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
    )
    return saved(path, tokenizer, model)


def clip(path, seed=0, both=False):
    """CLIP's text tower, causal, with byte pairs that merge into words; or a CLIP with `both` towers."""
    torch.manual_seed(seed)
    pieces, merges = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)], []
    for word in WORDS:
        first, *rest = [*word[:-1], f"{word[-1]}</w>"]
        for letter in rest:
            merges.append((first, letter))
            first += letter
            pieces.append(first)
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=list(dict.fromkeys(merges)))
    end = vocabulary["<|endoftext|>"]
    text = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=POSITIONS, bos_token_id=end - 1, eos_token_id=end,
        pad_token_id=end,
    )  # fmt: skip
    if not both:
        return saved(path, tokenizer, CLIPTextModel(text))
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
              "image_size": 8, "patch_size": 8}  # fmt: skip
    return saved(path, tokenizer, CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision)))


def saved(path, tokenizer, model):
    with torch.no_grad():
        for value in model.parameters():  # larger than new, so that tokens differ by more than rounding
            value.add_(0.3 * torch.randn_like(value))
    tokenizer.save_pretrained(path)
    model.save_pretrained(path)
    return path
