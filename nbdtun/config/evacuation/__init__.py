"""
The settings of an evacuation, from the values of options.

    words  the options of many migrations as words, which one process writes for another
    terms  the terms of an evacuation
"""
