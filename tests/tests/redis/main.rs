//! On a real Redis server: several hosts as one system, the server's faults, and what Celery's own tools make of it.

mod celery;
mod faults;
mod hosts;
mod poison;
mod starting;
mod tenants;
mod work;
