"""Pictures and films of data and samples, and the command `sample`, which makes them of a trained run.

pictures     sheets of images and scatter plots as arrays; writes pictures and films
sheets       arranges samples: in a grid, by class, by prompt, above their captions
films        of the forward process, from data to noise, and of sampling, from noise to data
draw         the command: draws to a picture, a film, an archive or a folder
edits        edits of a photo;   photos: reads it, and its mask
attention    where a model attends to each word of a prompt
"""
