"""The committed pictures and, for each, the script with its experiment.

``figures/NAME.py`` has ``data()``, the experiment, whose result is committed as ``NAME.json``; ``draw(data)``, the
picture ``NAME.svg``; ``ALT``, what it shows in words; and, where pages of `tutorials` are made of it, ``pages(data)``.
Where ``SOURCE`` says that the data come from elsewhere, ``data()`` reads them there.
"""
