mod model;
mod pick;
mod run;
mod world;
