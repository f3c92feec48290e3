"""Multi-view diffusion: one image of an animal to several views of it, compatible with FaceLift's published pipeline.

Everywhere in this room views are a dimension of their own, `[object, view, ...]`; view 0 is the reference, the one
that is given. Inside the UNet the two are one batch dimension with the view fastest.
"""
