"""How an implementation on trial is asked: found, called on the cases, and heard; nothing here judges.

From the name of a target to its answers::

    target        what can be judged, and how it is loaded: a framework, a file, an object
    doors/        anyone's batch norm as it was written: found, read, called
    envelope      what it takes, tried before it is judged, and the cases as it takes them
    interface     the functions that an implementation offers (cs231n: the assignment's signatures, read as those)
    answers       call an implementation on a case, and collect what comes back
    repetition    what calls do to each other
    troubled      where foreign code raised
    box           one implementation behind one door, for probes
    process       a process of its own for a target: the line to it, its end (guard: the end of all that it started)
    remote        an implementation there as if it were here (wire: what goes between the two; worker: the other side)
    folder        answers in files that a foreign program wrote (recorded: which; reading: files that may be hostile)
"""
