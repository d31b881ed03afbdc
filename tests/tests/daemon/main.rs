//! The real binary, from its command line and over HTTP: what people see of it.

mod beside_celery;
mod canvas;
mod control;
mod ending;
mod exec;
mod executors;
mod hosts;
mod modules;
mod order;
mod outside;
mod results;
mod starting;
mod tasks;
mod tenants;
