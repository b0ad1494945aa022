"""The providers' wire formats, as the stand-ins speak them."""
