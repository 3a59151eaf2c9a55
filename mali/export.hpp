// What libgranule.so exports: the classes and functions that say so. Everything else in it is hidden.
#pragma once

#define GRANULE_API __attribute__((visibility("default")))
