"""What `import eapc` offers: the commands as functions whose keywords are the options' names.

A function here turns what people have into what the commands of `eapc.commands` take, which the
command line calls as well.
"""

from __future__ import annotations
