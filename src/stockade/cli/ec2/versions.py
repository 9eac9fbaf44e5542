"""The API versions of 2006 to 2009, and what each first brought into the records."""

VERSIONS = (
    "2006-06-26",
    "2006-10-01",
    "2007-01-03",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2008-02-01",
    "2008-05-05",
    "2008-08-08",
    "2008-12-01",
    "2009-03-01",
    "2009-04-04",
    "2009-07-15",
    "2009-08-15",
    "2009-10-31",
    "2009-11-30",
)
DEFAULT = "2008-02-01"

PRODUCT_CODES = "2007-03-01"
INSTANCE_TYPES = "2007-08-29"
ZONES_AND_KERNELS = "2008-02-01"
REGIONS_AND_PLATFORMS = "2008-12-01"
MONITORING = "2009-03-01"
UNFOLDED_GRANTS = "2009-03-01"  # from here the tools printed a group's grant as its three rules
