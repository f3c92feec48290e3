"""A procedural mouse: a recording with known truth, from the real rig, without any recorded data.

``skeleton`` says what the bones are and poses them, ``gait`` moves them, ``shape`` is the outline, ``coat`` covers it
with Gaussians, ``arena`` is the rig, the floor and the shadow, and ``recording`` films it all into a capture folder.
Nothing is imported here, so that asking for a name costs no renderer.
"""
