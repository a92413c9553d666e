"""A small corpus of talking faces made on the user's machine, whose labels are known mixtures.

recipe.py says what is made, plan.py draws the clips, voice.py speaks them, motion.py moves the face,
portrait.py paints it, build.py writes the files and card.py the corpus's README.
"""
