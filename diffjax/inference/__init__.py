"""Networks applied to any number of examples, one compiled batch at a time over all devices.

sampling       draws samples from a trained model, each with its own key
conditioning   what samples are conditioned on: label, prompts, guidance
labels         records which labels samples were drawn for
embedding      computes the features of sets of images
rows           arrays that are filled one batch at a time
"""
