#![no_main]

peerloom_fuzz::target!(hop);
