"""Training of a bridge: frozen vision encoder, frozen decoder, and between them a learned Q-Former and projection.

What BLIP-2 (Li et al. 2023) calls generative pre-training: the decoder is given a picture's soft tokens and a
question, and the loss is that of the caption's tokens.
"""
