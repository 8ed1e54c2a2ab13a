//! One test for each statement of `protocol-ss-dbss-db.md` §2.12, by its number, with one executor and with more; the
//! golden vectors of its appendix A, byte for byte; and what the specification recommends beyond the reference.

mod ai_and_owner;
mod creation;
mod deletion;
mod fields;
mod fuzz;
mod location;
mod parent;
mod random;
mod refusals;
mod slices;
