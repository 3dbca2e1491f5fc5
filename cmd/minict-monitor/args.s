// This file lets args have no body.
