"""Hardware descriptions that come with eapc, one YAML file per machine; data only.

`eapc.hardware` reads them through the package name `eapc.hwmodels`.
"""

if __name__ != "eapc.hwmodels":
    raise ImportError(
        f"this folder is the package eapc.hwmodels, not {__name__}; install eapc and use "
        "eapc.hardware.load_hardware"
    )
