#pragma once

#include <stdexcept>

namespace stagegate {

// Every error the core raises. The bindings map each class to the Python class of the same name in
// engine.errors; messages name the operator, the operand and the offending value.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class ShapeError : public Error {
 public:
  using Error::Error;
};

class DTypeError : public Error {
 public:
  using Error::Error;
};

// An operand lives on the wrong device, or the device is not available in this build.
class DeviceError : public Error {
 public:
  using Error::Error;
};

// The device failed for good: nothing in this process can use it any more.
class DeviceLostError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

class ContiguityError : public Error {
 public:
  using Error::Error;
};

// A value (index, size, parameter) is outside what the callee accepts.
class ArgumentError : public Error {
 public:
  using Error::Error;
};

class OutOfMemoryError : public Error {
 public:
  using Error::Error;
};

}  // namespace stagegate
